"""Who is who in the simulated estate: eight services, their owners, whom they call, and a quiet day's figures."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on call; one for each team."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Member:
    """A service of the estate, with the middle of its quiet day: percent, requests a second, milliseconds."""

    name: str
    team: str
    tier: int
    language: str
    kind: Literal["app", "database", "cache"]
    calls: tuple[str, ...]
    cpu: float
    memory: float
    error_rate: float
    request_rate: float
    latency_p50: float

    @property
    def instances(self) -> tuple[str, ...]:
        """The processes behind the name: applications run twice, what keeps state runs once."""
        port = {"app": 8080, "database": 5432, "cache": 6379}[self.kind]
        return tuple(f"{self.name}-{n}:{port}" for n in range(2 if self.kind == "app" else 1))


ENVIRONMENT = "production"

PEOPLE = {
    "edge": Person("Ines Moreau", "ines.moreau@example.com"),
    "identity": Person("Tomasz Wilk", "tomasz.wilk@example.com"),
    "payments": Person("Amara Okafor", "amara.okafor@example.com"),
    "messaging": Person("Jonas Lindqvist", "jonas.lindqvist@example.com"),
    "data-platform": Person("Priya Raman", "priya.raman@example.com"),
}

MEMBERS = {
    member.name: member
    for member in (
        Member(
            "api-gateway",
            "edge",
            1,
            "go",
            "app",
            ("auth-service", "user-service", "payment-processor"),
            cpu=41.0,
            memory=52.0,
            error_rate=0.058,
            request_rate=420.0,
            latency_p50=45.0,
        ),
        Member(
            "auth-service",
            "identity",
            1,
            "java",
            "app",
            ("cache-redis", "database-primary"),
            cpu=36.0,
            memory=61.0,
            error_rate=0.02,
            request_rate=260.0,
            latency_p50=18.0,
        ),
        Member(
            "user-service",
            "identity",
            2,
            "python",
            "app",
            ("cache-redis", "database-replica"),
            cpu=33.0,
            memory=47.0,
            error_rate=0.015,
            request_rate=180.0,
            latency_p50=24.0,
        ),
        Member(
            "payment-processor",
            "payments",
            1,
            "java",
            "app",
            ("database-primary", "notification-service"),
            cpu=38.0,
            memory=58.0,
            error_rate=0.04,
            request_rate=60.0,
            latency_p50=70.0,
        ),
        Member(
            "notification-service",
            "messaging",
            3,
            "nodejs",
            "app",
            ("cache-redis",),
            cpu=24.0,
            memory=43.0,
            error_rate=0.03,
            request_rate=45.0,
            latency_p50=35.0,
        ),
        Member(
            "database-primary",
            "data-platform",
            1,
            "c",
            "database",
            (),
            cpu=44.0,
            memory=66.0,
            error_rate=0.005,
            request_rate=520.0,
            latency_p50=4.0,
        ),
        Member(
            "database-replica",
            "data-platform",
            2,
            "c",
            "database",
            ("database-primary",),
            cpu=29.0,
            memory=57.0,
            error_rate=0.005,
            request_rate=310.0,
            latency_p50=3.5,
        ),
        Member(
            "cache-redis",
            "data-platform",
            2,
            "c",
            "cache",
            (),
            cpu=21.0,
            memory=48.0,
            error_rate=0.004,
            request_rate=900.0,
            latency_p50=0.8,
        ),
    )
}
