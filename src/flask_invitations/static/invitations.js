// Nothing here is needed: every page works without it. Nothing is ever sent before somebody presses a button.
(function () {
  "use strict";
  // The link's secret stands behind its "#": move it into the form, and out of the address bar and the history.
  var shape = /[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])/;
  var landing = document.querySelector("[data-landing]");

  function clean(address) {
    history.replaceState(null, "", address);
  }

  function show(what, visible) {
    landing.querySelector("[data-" + what + "]").hidden = !visible;
  }

  function take() {
    var found = shape.exec(location.hash) || shape.exec(location.search);
    var cut = !found && location.hash.length > 1;
    if (!found && !cut) return;
    clean(landing.dataset.landing);
    landing.querySelector("[name=token]").value = found ? found[0] : "";
    show("paste-field", cut);
    show("with-link", found);
    show("without-link", false);
    show("cut-link", cut);
  }

  // What answers an accept has the landing page's address: a link pasted there loads nothing by itself.
  function leave() {
    if (shape.exec(location.hash)) location.replace("open" + location.hash);
  }

  if (landing) take();
  addEventListener("hashchange", landing ? take : leave);

  var opened = document.querySelector("[data-clean-address]");
  if (opened) clean(opened.dataset.cleanAddress);

  // Help with choosing a password: show it, and say how far it is. What is pasted or filled in is never touched.
  document.querySelectorAll("[data-help]").forEach(function (help) {
    var field = document.getElementById(help.dataset.help), button = help.querySelector("button");
    var said = help.querySelector("[role=status]"), bar = help.querySelector("progress");
    var words = [button.textContent, button.dataset.hide], later;

    function judge(text) {
      var letters = Array.from(text), limits = help.dataset;
      if (!letters.length) return "";
      if (letters.length < limits.minimum) return limits.short.replace("{count}", letters.length);
      if (letters.length > limits.maximum) return limits.long;
      return new Set(letters).size < 6 ? limits.weak : limits.enough;
    }

    function follow() {
      bar.value = Array.from(field.value).length;
      clearTimeout(later); // screen readers: once typing has paused
      later = setTimeout(function () { said.textContent = judge(field.value); }, 300);
    }

    help.hidden = false;
    field.addEventListener("input", follow);
    follow(); // somebody, or a password manager, may have been faster than this script
    button.addEventListener("click", function () {
      var shown = field.type === "password";
      field.type = shown ? "text" : "password";
      button.textContent = words[+shown];
    });
    field.form.addEventListener("submit", function () { field.type = "password"; });
  });

  // A double click sends a form once, and the way back from an answer leads to the landing page, not to the form.
  document.addEventListener("submit", function (event) {
    var form = event.target, now = event.timeStamp;
    if (form.method !== "post") return;
    if (now - form.dataset.sent < 2000) event.preventDefault();
    else {
      form.dataset.sent = now;
      if (form.dataset.leave) clean(form.dataset.leave);
    }
  });
})();
