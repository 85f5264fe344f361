"""Chromium, driven by playwright: windows of a web site, and everything that may not happen in one."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.helpers.require import require

LOCALES = {"en": "en-US", "de": "de-DE"}


def browser_path() -> str:
    """Return the browser's path; skip when it or playwright is missing. SSBFAST_CHROMIUM names another one."""
    try:
        import playwright
    except ImportError:
        playwright = None  # type: ignore[assignment]
    require("playwright", playwright is not None, "pip install playwright")
    found = os.environ.get("SSBFAST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
    require("chromium", bool(found), "apt install chromium")
    return found


class Window:
    """A window with its own cookies. problems: what a person would find in the console, and requests elsewhere."""

    def __init__(self, context: Any, page: Any, base: str) -> None:
        self.context = context
        self.page = page
        self.base = base
        self.problems: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.base + "/", "data:")):
            self.problems.append(f"request: {request.url}")

    async def open(self, path: str) -> int:
        """Open a page; return its status. A page that leaves by itself at that moment does not win."""
        from playwright.async_api import Error

        url = path if path.startswith("http") else self.base + path
        for attempt in range(5):
            try:
                response = await self.page.goto(url)
                break
            except Error as error:
                if "interrupted by another navigation" not in error.message or attempt == 4:
                    raise
        assert response is not None
        return int(response.status)

    async def click(self, selector: str) -> None:
        """Click something that leads to another page, and wait for it."""
        async with self.page.expect_navigation():
            await self.page.click(selector)

    async def sign_in(self, token: str | None) -> None:
        """Take over a session."""
        await self.context.add_cookies([{"name": "ssb", "value": token, "url": self.base}])

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        found = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return int(found)


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """Start Chromium."""
    path = browser_path()
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(
    browser: Any, base: str, *, language: str = "en", width: int = 1280, scripts: bool = True, dark: bool = False
) -> AsyncIterator[Window]:
    """Open a window with cookies of its own."""
    context = await browser.new_context(
        viewport={"width": width, "height": 800},
        locale=LOCALES[language],
        java_script_enabled=scripts,
        color_scheme="dark" if dark else "light",
    )
    try:
        page = await context.new_page()
        page.set_default_timeout(15_000)
        yield Window(context, page, base)
    finally:
        await context.close()
