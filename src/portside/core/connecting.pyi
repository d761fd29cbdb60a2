"""What Python code sees of the usual connection; connecting.pyx documents it, and replies.pyi says why it is empty."""

from portside.core.replies import QuickReplies

class QuickConnections(QuickReplies): ...
