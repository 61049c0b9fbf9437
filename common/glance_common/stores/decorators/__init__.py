"""Stores around stores: each adds one ability to any driver."""
