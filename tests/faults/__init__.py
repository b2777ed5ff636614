"""The promises under faults: real processes, real disks, and what goes wrong with both."""
