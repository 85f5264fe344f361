// What the pages can do besides: copy, share, and show what happens as it happens. All of them work without it.
"use strict";

(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];

  // ---- copy: <button data-copy="ID" data-done="Copied" hidden>
  for (const button of all("button[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    if (!source) continue;
    button.hidden = false;
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const text = "value" in source ? source.value : source.textContent.trim();
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        if (source.select) source.select();
        else getSelection().selectAllChildren(source);
        document.execCommand("copy");
      }
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }

  // ---- share: <button data-share="URL" hidden>
  for (const button of all("button[data-share]")) {
    if (!navigator.share) continue;
    button.hidden = false;
    button.addEventListener("click", () => {
      navigator.share({ title: document.title, url: button.dataset.share }).catch(() => {});
    });
  }

  // ---- one line is selected whole when it gets the focus
  for (const input of all("input[readonly]")) input.addEventListener("focus", () => input.select());

  // ---- live: <div data-live="/dashboard/events"> has elements with ids; an event "part" brings new contents for them
  const live = document.querySelector("[data-live]");
  if (live && "EventSource" in window) {
    const events = new EventSource(live.dataset.live);
    const state = document.querySelector("[data-live-state]");
    const show = (open) => {
      if (!state) return;
      state.hidden = false;
      state.classList.toggle("live", open);
      state.lastElementChild.textContent = open ? state.dataset.on : state.dataset.off;
    };
    events.addEventListener("open", () => show(true));
    events.addEventListener("error", () => show(false));
    events.addEventListener("gone", () => { events.close(); location.reload(); });
    events.addEventListener("part", (event) => {
      for (const [id, html] of Object.entries(JSON.parse(event.data))) {
        const part = document.getElementById(id);
        if (part && part.innerHTML !== html && !part.contains(document.activeElement)) part.innerHTML = html;
      }
    });
    addEventListener("pagehide", () => events.close());
  }

  // ---- sign-in: <form data-wait="/login/wait"> is sent when the app has signed
  const waiting = document.querySelector("form[data-wait]");
  if (waiting && "EventSource" in window) {
    const events = new EventSource(waiting.dataset.wait);
    const failed = document.getElementById("wait-failed");
    const note = document.getElementById("wait-note");
    if (note) note.hidden = false;
    events.addEventListener("solved", () => { events.close(); waiting.submit(); });
    events.addEventListener("failed", () => {
      events.close();
      if (note) note.hidden = true;
      if (failed) failed.hidden = false;
    });
    addEventListener("pagehide", () => events.close());
  }
})();
