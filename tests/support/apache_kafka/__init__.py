"""A real, single-broker Apache Kafka for the acceptance tests, without Docker."""
