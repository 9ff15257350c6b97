// Starts the explorer: light or dark as the reader has it, and every request to where the page came from.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("explorer");
  SwaggerUIBundle({
    domNode: place,
    url: place.dataset.document,
    layout: "BaseLayout",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    // The document names the public address. Who reads this through the onion service stays there.
    requestInterceptor: (request) => {
      const url = new URL(request.url, window.location.href);
      url.protocol = window.location.protocol;
      url.host = window.location.host;
      request.url = url.href;
      return request;
    },
  });
});
