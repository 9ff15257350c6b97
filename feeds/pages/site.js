// Saves readers of a page that changes the reload: what the service publishes is told on a stream, and then the page is
// fetched again and its main part put in the place of the old one. Without scripts the page is the same.
"use strict";
(() => {
  const WAIT = 3000; // milliseconds within which readers come back, so that they do not all come at once
  const LATER = 12000; // until another look: a cache, or another process, may have it a little later than who told us
  const AGAIN = 60000; // between two looks where the stream cannot be had
  const OLD = 600000; // between two looks though nothing was published: what a page says also ages
  const main = document.getElementById("main");
  const said = document.getElementById("said");
  let stream = null;
  let timer = 0;
  let polling = 0;

  // What a reader had opened stays open, and where the keyboard was it stays.
  const keep = (from, to) => {
    for (const each of from.querySelectorAll("details[id][open]")) {
      to.querySelector("#" + CSS.escape(each.id))?.setAttribute("open", "");
    }
  };

  const renew = async () => {
    timer = 0;
    const answer = await fetch(location.href, { cache: "no-cache" }).catch(() => null);
    if (!answer?.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = next.getElementById("main");
    if (!fresh || fresh.innerHTML === main.dataset.was) return;
    main.dataset.was = fresh.innerHTML;
    keep(main, fresh);
    const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
    main.replaceChildren(...fresh.childNodes);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    document.title = next.title;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
      main.animate?.([{ opacity: 0.6 }, { opacity: 1 }], 300);
    }
    said.textContent = "";
    requestAnimationFrame(() => { said.textContent = main.dataset.said; });
  };
  const soon = () => { timer ||= setTimeout(renew, Math.random() * WAIT); };
  const told = () => {
    soon();
    setTimeout(soon, LATER);
  };

  const listen = () => {
    if (stream || document.hidden) return;
    stream = new EventSource(main.dataset.stream);
    for (const feed of main.dataset.feeds.split(" ")) stream.addEventListener(feed, told);
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) polling ||= setInterval(soon, AGAIN);
    });
  };
  // A page nobody looks at takes no place on the stream.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stream?.close();
      stream = null;
      clearInterval(polling);
      polling = 0;
    } else {
      listen();
      soon();
    }
  });
  setInterval(() => { if (!document.hidden) soon(); }, OLD);
  main.dataset.was = main.innerHTML;
  listen();
})();
