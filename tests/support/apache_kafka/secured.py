"""One Apache Kafka that has to be spoken to in every way there is: a listener for each, users, and rights by user.

`settings_of` says how a client is told to use a listener. The plain listener is the administrator's; `allow` and `deny`
write access control lists over it. Everybody else may do nothing until they are allowed to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from tests.support.apache_kafka.server import ApacheKafka, _free_ports
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from aiokafka.protocol.api import Request

USER, PASSWORD = "heliograph", "correct-horse"
#: Listeners and how they are spoken to. Those of TLS differ in the certificate they show.
LISTENERS: Final = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
    "SASL": "SASL_PLAINTEXT",
    "SASLTLS": "SASL_SSL",
}
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

#: Numbers of Kafka's protocol: kinds of resources, operations, permissions, patterns (here: exactly this name).
TOPIC, GROUP = 2, 3
READ, WRITE, DESCRIBE = 3, 4, 8
DENIED, ALLOWED = 2, 3
LITERAL = 3


class SecuredKafka(ApacheKafka):
    """A broker with TLS, SASL and an authorizer."""

    def __init__(self, folder: Path) -> None:
        """Make the certificates in `folder`."""
        super().__init__()
        self.authority = Authority(folder)
        self.authority.good()
        self.authority.expired()
        self.authority.of_another_host()
        self.authority.issued("customer")
        self._certificates = folder
        self._ports = {name: _free_ports() for name in LISTENERS}
        self.cafile = self.authority.bundle()
        self.certfile = folder / "customer.pem"

    def settings_of(self, listener: str, **others: Any) -> dict[str, Any]:
        """Return the settings of a client that may use `listener`, with `others` over them."""
        protocol = LISTENERS[listener]
        found: dict[str, Any] = {
            "kafka_bootstrap": f"127.0.0.1:{self._ports[listener]}",
            "kafka_security_protocol": protocol,
        }
        if protocol.endswith("SSL"):
            found["kafka_ssl_cafile"] = str(self.cafile)
        if listener == "MUTUAL":
            found["kafka_ssl_certfile"] = str(self.certfile)
        if protocol.startswith("SASL"):
            found |= {"kafka_sasl_username": USER, "kafka_sasl_password": PASSWORD}
        return found | others

    async def allow(self, kind: int, name: str, *operations: int) -> None:
        """Let our user do that to a topic or group."""
        for operation in operations:
            await self._ask(CreateAclsRequest(kind, name, LITERAL, f"User:{USER}", "*", operation, ALLOWED))

    async def deny(self, kind: int, name: str, operation: int) -> None:
        """Forbid it, whatever is allowed."""
        await self._ask(CreateAclsRequest(kind, name, LITERAL, f"User:{USER}", "*", operation, DENIED))

    async def deny_no_more(self, kind: int, name: str, operation: int) -> None:
        """Take back what `deny` did."""
        await self._ask(DeleteAclsRequest(kind, name, LITERAL, f"User:{USER}", "*", operation, DENIED))

    async def _ask(self, request: Request[Any]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            response = await admin._send_to_controller(request)
        finally:
            await admin.close()
        is_new = isinstance(request, CreateAclsRequest)
        [(code, message, *_)] = response.creation_responses if is_new else response.filter_responses
        assert code == 0, message

    def _format_arguments(self) -> list[str]:
        return [
            f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]"
            for mechanism in MECHANISMS
            if mechanism.startswith("SCRAM")
        ]

    def _properties(self) -> dict[str, str]:
        basic = super()._properties()
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
        own = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self._ports.items())
        properties = basic | {
            "listeners": f"{basic['listeners']},{own}",
            "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in protocols.items()),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # whoever comes over the plain listener, the broker itself among them
        }
        shown = {"EXPIRED": "expired", "ELSEWHERE": "other"}
        for name, protocol in LISTENERS.items():
            prefix = f"listener.name.{name.lower()}"
            if protocol.endswith("SSL"):
                properties |= {
                    f"{prefix}.ssl.keystore.type": "PEM",
                    f"{prefix}.ssl.keystore.location": str(self._certificates / f"{shown.get(name, 'good')}.pem"),
                    f"{prefix}.ssl.truststore.type": "PEM",
                    f"{prefix}.ssl.truststore.location": str(self.cafile),
                    f"{prefix}.ssl.client.auth": "required" if name == "MUTUAL" else "none",
                }
            if protocol.startswith("SASL"):
                scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
                properties |= {
                    f"{prefix}.sasl.enabled.mechanisms": ",".join(MECHANISMS),
                    f"{prefix}.scram-sha-256.sasl.jaas.config": scram,
                    f"{prefix}.scram-sha-512.sasl.jaas.config": scram,
                    f"{prefix}.plain.sasl.jaas.config": f'{plain} user_{USER}="{PASSWORD}";',
                }
        return properties
