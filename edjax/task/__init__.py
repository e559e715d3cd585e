"""A configuration with its data, ready to train."""

from edjax.task.make import Task, make_task, selection_of

__all__ = ['Task', 'make_task', 'selection_of']
