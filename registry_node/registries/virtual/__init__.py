"""A registry put together of others: who is asked, who answers, whose grants hold."""
