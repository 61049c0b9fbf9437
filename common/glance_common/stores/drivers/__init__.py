"""The drivers; none knows another one."""
