"""How messages leave a process: connections to the broker, and the thread that sends, so that no request waits.

    connection.py   what ``transport_url`` names, connections, their errors and the pauses between tries
    outbox.py       the bounded queue in the process and its one sending thread

What is sent is the matter of ``delete_queue`` and ``notifications``.
"""
