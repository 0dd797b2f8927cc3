"""What stands for Jupyter's connection between a widget in Python and a browser."""


class Wire:
    """Hands a browser's messages to a widget, and keeps what the widget sends in answer.

    `sent` holds messages of Jupyter's widget protocol that change traits: state, buffer_paths and buffers.
    """

    comm_id = "wire"  # what ipywidgets expects of a connection: this, on_msg, send and close

    def __init__(self, widget):
        self.sent = []
        widget.comm = self

    def on_msg(self, handle) -> None:
        self._handle = handle

    def send(self, data=None, metadata=None, buffers=None) -> None:
        if data["method"] == "update":  # not an echo, which is for other browsers
            self.sent.append({"state": data["state"], "buffer_paths": data["buffer_paths"], "buffers": buffers or []})

    def close(self, *arguments, **options) -> None:
        pass

    def deliver(self, data: dict, buffers=()) -> list[dict]:
        """Hand a message to the widget and return what it sends in answer."""
        self.sent = []
        self._handle({"content": {"data": data}, "buffers": [memoryview(buffer) for buffer in buffers]})
        return self.sent

    def change(self, name: str, value: bytes) -> list[dict]:
        """Set a trait that holds bytes."""
        return self.deliver({"method": "update", "state": {}, "buffer_paths": [[name]]}, [value])

    def tell(self, content: dict, *buffers: bytes) -> list[dict]:
        """Send a message that sets no trait."""
        return self.deliver({"method": "custom", "content": content}, buffers)
