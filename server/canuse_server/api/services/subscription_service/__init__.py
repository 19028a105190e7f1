"""SubscriptionService: subscriptions, and changes of a user's package."""
