"""What Python code sees of deadlines; deadlines.pyx documents it."""

from typing import final

class Deadline: ...

@final
class Timetable: ...
