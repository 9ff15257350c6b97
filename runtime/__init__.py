"""What at least three packages need and that knows no topic, table, route or metric."""
