"""A configuration with its data, ready to train."""

from edjax.task.make import Task, check_labels, make_task, selection_of

__all__ = ['Task', 'check_labels', 'make_task', 'selection_of']
