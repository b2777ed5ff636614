"""The whole product as an operator and a vendor see it: real processes, real TCP, real commands."""
