#!/bin/sh
# Makes the topics Heliograph expects, with the script a Kafka brings along; those that exist are left as they are.
# topics.sh BOOTSTRAP REPLICATION [FILE], FILE being a client configuration (TLS, SASL). docs/operations.md says what is in
# which; partitions of controlplane.events are as many intake processes as there will ever be.
set -eu

bootstrap=$1
replication=$2
properties=${3:-/dev/null}
kafka_topics=${KAFKA_TOPICS:-/opt/kafka/bin/kafka-topics.sh}

topic() {
  name=$1
  partitions=$2
  shift 2
  "$kafka_topics" --bootstrap-server "$bootstrap" --command-config "$properties" --create --if-not-exists \
    --topic "$name" --partitions "$partitions" --replication-factor "$replication" "$@"
}

topic controlplane.events 12
topic controlplane.credentials 1 --config cleanup.policy=compact --config delete.retention.ms=86400000
topic computeapi.telemetry 3
topic heliograph.deadletters 1 --config retention.ms=1209600000
topic heliograph.events 1
