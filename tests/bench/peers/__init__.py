"""What a capable team would otherwise write, each in its best reasonable shape, to be measured beside fleetd."""
