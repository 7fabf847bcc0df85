// The link's secret stands behind its "#". Move it into the form, and out of the address bar and the history.
// Nothing is sent before somebody presses the button.
(function () {
  "use strict";
  var shape = /[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/;
  var landing = document.querySelector("[data-landing]");

  function clean(address) {
    history.replaceState(null, "", address);
  }

  function take() {
    var found = shape.exec(location.hash) || shape.exec(location.search);
    if (!found) return;
    clean(landing.dataset.landing);
    landing.querySelector("[name=token]").value = found[0];
    landing.querySelector("[data-paste-field]").hidden = true;
    landing.querySelector("[data-with-link]").hidden = false;
    landing.querySelector("[data-without-link]").hidden = true;
  }

  if (landing) {
    take();
    addEventListener("hashchange", take);
  }

  var opened = document.querySelector("[data-clean-address]");
  if (opened) clean(opened.dataset.cleanAddress);

  document.querySelectorAll("[data-reveal]").forEach(function (label) {
    label.hidden = false;
    label.addEventListener("change", function (event) {
      document.getElementById(label.dataset.reveal).type = event.target.checked ? "text" : "password";
    });
  });
})();
