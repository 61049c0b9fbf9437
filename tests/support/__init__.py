"""Real servers and clients for tests: PostgreSQL, RabbitMQ, Keystone, the command line clients, our own daemons."""
