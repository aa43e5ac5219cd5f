"""For servers of many processes that drain only when their first process alone hears SIGTERM."""
