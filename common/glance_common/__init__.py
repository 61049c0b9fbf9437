"""What the three daemons share: values, errors, options, logs, stores and the registry client."""
