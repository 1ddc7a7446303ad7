"""What would like to be markup. Apart from the application, which nobody imports who only looks at it."""

SCRIPT = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
