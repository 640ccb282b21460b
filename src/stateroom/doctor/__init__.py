"""`stateroom doctor`: what will hurt in a failover, seen before there is one. It looks, and changes nothing."""
