"""The outbox under kills, crowds and outages, and how fast it is: ``python -m benchmarks.delivery --help``.

Every scenario runs real processes, real databases and a real SMTP server, holds what happened against what
``docs/delivery.md`` promises, and gives a :class:`~benchmarks.delivery.report.Report`. ``tests/races/test_outbox.py``
runs the same scenarios in short.
"""
