"""What fleetd promises of polling, shown against simulated vendors over real sockets."""
