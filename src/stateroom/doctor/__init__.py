"""`stateroom doctor`: finds what would make a failover fail or lose data, before one happens. It changes nothing."""
