"""The outside world in miniature: a simulated estate of eight services, and HTTP emulators of the vendors over it.

Nothing in here imports the engine, and the engine imports nothing from here except to run the demo and the tests.
"""
