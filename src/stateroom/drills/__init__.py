"""The means to prove what a failover does: real servers, broken on purpose."""
