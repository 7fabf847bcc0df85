"""What ``celery -A worker`` looks for: the Celery app of an app of its own."""

from shop import create_app

celery = create_app().extensions["celery"]
