"""What every real server is filled with: whose data, and how long a day is."""

SERVICES = (
    *("api-gateway", "auth-service", "user-service", "payment-processor"),
    *("notification-service", "database-primary", "database-replica", "cache-redis"),
)
ODD_NAMES = (
    'we"ird\\svc{1}.x|y',
    "it's",
    "line\nbreak",
    "サービス",
    "a.b",
    "a-b",
    "x",
    "y",
    "`tick`",
    "$1^(+*?)[a]",
)
DAY_S = 86_400
