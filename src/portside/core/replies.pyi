"""What Python code sees of the usual answer; replies.pyx documents it.

To a type checker the classes are empty: what they have is typed by the Python classes that they stand before.
"""

from typing import Any

class QuickWriter: ...
class QuickReplies: ...

def know(**names: Any) -> None: ...
