"""The schedule of the simulated estate: what went wrong in the last sixty days.

The first recipe keeps its exact time, because the example conversations ask about it; the others move by some
minutes with the seed.
"""

from telemetry_mcp.demo.fault_plan import Alarm, Recipe, Symptom

YESTERDAY = Recipe(
    *("payment-slow", "payment-processor", "payment-processor slow after the deployment of v2.14.0"),
    *(1, "14:05", 75),
    *("Deploy payment-processor v2.14.0", "deployment", "v2.14.0", 3),
    symptoms=(
        Symptom("payment-processor", "cpu", 46.0, delay=0, rise=4),
        Symptom("payment-processor", "latency", 4.5, delay=4, rise=5),
        Symptom("payment-processor", "error_rate", 32.0, delay=9, rise=6),
        Symptom("api-gateway", "latency", 0.9, delay=6, rise=5),
        Symptom("api-gateway", "error_rate", 4.5, delay=11, rise=6),
    ),
    alarms=(
        Alarm("payment-processor", "payment-processor: p95 latency above 1 s", 7, 4, "P1", "high"),
        Alarm("api-gateway", "api-gateway: error rate above 1 %", 16, 9, "P2", "high"),
    ),
    remedy="Roll back payment-processor to v2.13.4",
    remedy_version="v2.13.4",
)

NOW = Recipe(
    *("notification-errors", "notification-service", "notification-service: the mail relay refuses messages"),
    *(0, "", 0),
    *("notification-service: mail relay switched to smtp-2", "config", "", 2),
    symptoms=(
        Symptom("notification-service", "error_rate", 3.6, delay=0, rise=5),
        Symptom("notification-service", "latency", 0.5, delay=2, rise=5),
    ),
    alarms=(Alarm("notification-service", "notification-service: error rate above 1 %", 5, 11, "P3", "low"),),
)

EARLIER = (
    Recipe(
        *("cache-leak", "cache-redis", "cache-redis: memory grows without end"),
        *(4, "02:10", 940),
        *("cache-redis: maxmemory-policy set to noeviction", "config", "", 25),
        symptoms=(
            Symptom("cache-redis", "memory", 43.0, rise=930),
            Symptom("cache-redis", "latency", 0.7, delay=600, rise=300),
            Symptom("auth-service", "latency", 0.3, delay=640, rise=260),
        ),
        alarms=(Alarm("cache-redis", "cache-redis: memory above 85 %", 820, 14, "P2", "high"),),
        remedy="cache-redis: maxmemory-policy set to allkeys-lru, restart",
    ),
    Recipe(
        *("notification-backlog", "notification-service", "notification-service: backlog after a campaign"),
        *(6, "09:30", 45),
        *("Deploy notification-service v1.22.0", "deployment", "v1.22.0", 8),
        symptoms=(
            Symptom("notification-service", "cpu", 31.0),
            Symptom("notification-service", "latency", 2.2, delay=4),
            Symptom("notification-service", "error_rate", 3.0, delay=12),
        ),
        alarms=(Alarm("notification-service", "notification-service: queue is growing", 14, 6, "P3", "low"),),
        remedy="Deploy notification-service v1.22.1",
        remedy_version="v1.22.1",
    ),
    Recipe(
        *("primary-outage", "database-primary", "database-primary: outage, the replica lags behind"),
        *(9, "10:20", 17),
        *("database-primary: max_connections raised to 900", "config", "", 6),
        symptoms=(
            Symptom("database-primary", "cpu", 40.0, rise=2),
            Symptom("database-primary", "error_rate", 82.0, delay=1, rise=2),
            Symptom("database-primary", "request_rate", -0.8, delay=2, rise=2),
            Symptom("database-replica", "latency", 6.0, delay=1, rise=3),
            Symptom("database-replica", "error_rate", 3.0, delay=3, rise=3),
            Symptom("payment-processor", "latency", 3.0, delay=1, rise=2),
            Symptom("payment-processor", "error_rate", 65.0, delay=2, rise=2),
            Symptom("auth-service", "error_rate", 12.0, delay=2, rise=3),
            Symptom("user-service", "latency", 1.5, delay=3, rise=3),
            Symptom("api-gateway", "error_rate", 24.0, delay=3, rise=3),
        ),
        alarms=(
            Alarm("database-primary", "database-primary: does not accept connections", 2, 2, "P1", "high"),
            Alarm("payment-processor", "payment-processor: error rate above 5 %", 4, 3, "P1", "high"),
            Alarm("database-replica", "database-replica: replication lag above 30 s", 5, 5, "P2", "high"),
        ),
        remedy="database-primary: max_connections back to 400, restart",
    ),
    Recipe(
        *("auth-errors", "auth-service", "auth-service: burst of errors after a deployment"),
        *(13, "19:40", 28),
        *("Deploy auth-service v3.8.0", "deployment", "v3.8.0", 4),
        symptoms=(
            Symptom("auth-service", "error_rate", 24.0, rise=4),
            Symptom("auth-service", "cpu", 12.0),
            Symptom("api-gateway", "error_rate", 12.0, delay=2, rise=4),
        ),
        alarms=(Alarm("auth-service", "auth-service: error rate above 5 %", 3, 3, "P1", "high"),),
        remedy="Roll back auth-service to v3.7.3",
        remedy_version="v3.7.3",
    ),
    Recipe(
        *("traffic-surge", "api-gateway", "Traffic surge after the spring campaign"),
        *(17, "18:05", 120),
        *("api-gateway: campaign landing page enabled", "config", "", 5),
        symptoms=(
            Symptom("api-gateway", "request_rate", 1.3, rise=12),
            Symptom("api-gateway", "cpu", 33.0, rise=14),
            Symptom("api-gateway", "latency", 0.6, delay=6, rise=10),
            Symptom("user-service", "request_rate", 1.2, delay=1, rise=12),
            Symptom("user-service", "cpu", 27.0, delay=1, rise=12),
            Symptom("auth-service", "request_rate", 1.1, delay=1, rise=12),
            Symptom("cache-redis", "request_rate", 1.2, delay=1, rise=12),
            Symptom("database-replica", "cpu", 24.0, delay=2, rise=12),
        ),
        alarms=(Alarm("api-gateway", "api-gateway: cpu above 75 %", 18, 12, "P3", "low"),),
    ),
    Recipe(
        *("user-slow", "user-service", "user-service: slow profile queries"),
        *(22, "11:15", 50),
        *("Deploy user-service v5.3.0", "deployment", "v5.3.0", 7),
        symptoms=(
            Symptom("user-service", "cpu", 29.0),
            Symptom("user-service", "latency", 2.5, delay=3, rise=5),
            Symptom("api-gateway", "latency", 0.5, delay=5, rise=5),
        ),
        alarms=(Alarm("user-service", "user-service: p95 latency above 200 ms", 8, 6, "P2", "high"),),
        remedy="Roll back user-service to v5.2.4",
        remedy_version="v5.2.4",
    ),
    Recipe(
        *("replica-lag", "database-replica", "database-replica: lag during a bulk import"),
        *(27, "03:10", 90),
        *("database-primary: nightly import moved to 03:00", "config", "", 10),
        symptoms=(
            Symptom("database-replica", "latency", 4.0, rise=15),
            Symptom("database-replica", "cpu", 35.0, rise=8),
            Symptom("user-service", "latency", 0.9, delay=6, rise=15),
        ),
        alarms=(Alarm("database-replica", "database-replica: replication lag above 30 s", 18, 25, "P3", "low"),),
    ),
    Recipe(
        *("payment-errors", "payment-processor", "payment-processor: the card network times out"),
        *(36, "16:45", 35),
        *("payment-processor: time-out of the card network lowered to 2 s", "config", "", 15),
        symptoms=(
            Symptom("payment-processor", "latency", 2.0),
            Symptom("payment-processor", "error_rate", 9.0, delay=3, rise=4),
            Symptom("api-gateway", "error_rate", 1.3, delay=5, rise=4),
        ),
        alarms=(Alarm("payment-processor", "payment-processor: error rate above 5 %", 6, 5, "P1", "high"),),
        remedy="payment-processor: time-out of the card network back to 8 s",
    ),
    Recipe(
        *("gateway-cpu", "api-gateway", "api-gateway: certificate checks cost too much"),
        *(44, "12:30", 55),
        *("Deploy api-gateway v4.1.0", "deployment", "v4.1.0", 5),
        symptoms=(
            Symptom("api-gateway", "cpu", 44.0, rise=5),
            Symptom("api-gateway", "latency", 1.4, delay=4, rise=6),
        ),
        alarms=(Alarm("api-gateway", "api-gateway: cpu above 75 %", 6, 8, "P2", "high"),),
        remedy="Roll back api-gateway to v4.0.6",
        remedy_version="v4.0.6",
    ),
    Recipe(
        *("primary-disk", "database-primary", "database-primary: slow disk"),
        *(53, "07:50", 65),
        *("database-primary: storage class migrated", "config", "", 40),
        symptoms=(
            Symptom("database-primary", "latency", 3.5, rise=8),
            Symptom("payment-processor", "latency", 1.2, delay=3, rise=8),
            Symptom("auth-service", "latency", 1.0, delay=3, rise=8),
        ),
        alarms=(Alarm("database-primary", "database-primary: p95 latency above 50 ms", 11, 9, "P2", "high"),),
    ),
)
