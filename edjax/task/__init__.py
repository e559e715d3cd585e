"""A configuration with its data, ready to train."""

from edjax.task.make import Task, divide, make_task, selection_of

__all__ = ['Task', 'divide', 'make_task', 'selection_of']
