// Nothing here is needed: every page works without it. Nothing is ever sent before somebody presses a button. Only what is
// inside of .invitations is looked at, since the page around it is the host's.
(function () {
  "use strict";
  var root = document.querySelector(".invitations") || document;

  function one(name, where) {
    return (where || root).querySelector("[data-invitations-" + name + "]");
  }

  function each(selector, act) {
    root.querySelectorAll(selector).forEach(act);
  }

  function told(element, name) {
    return element.getAttribute("data-invitations-" + name);
  }

  // The link's secret stands behind its "#": move it into the form, and out of the address bar and the history. What it
  // is, the server finds: mail programs encode and break links. Whether there may be one, is the same rule as in pasted.py.
  var landing = one("landing"), opened = one("clean-address");
  var run = /[A-Za-z0-9_-]{43}/;
  var added = /[\0-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\u{e0000}-\u{e0fff}=>|\\]+/gu;

  function decoded(text) {
    return text.replace(/(?:%[0-9a-f]{2})+/gi, function (bytes) {
      return new TextDecoder().decode(Uint8Array.from(bytes.slice(1).split("%"), function (hex) { return parseInt(hex, 16); }));
    });
  }

  function holds(text) {
    for (var layers = 0; layers < 4; layers++, text = decoded(text)) if (run.test(text.replace(added, ""))) return true;
    return false;
  }

  function clean(address) {
    history.replaceState(null, "", address);
  }

  function show(what, visible) {
    one(what, landing).hidden = !visible;
  }

  function take() {
    var text = location.search + location.hash, found = holds(text);
    var cut = !found && location.hash.length > 1;
    if (!found && !cut) return;
    clean(told(landing, "landing"));
    landing.querySelector("[name=token]").value = found ? text : "";
    show("paste-field", cut);
    show("with-link", found);
    show("without-link", false);
    show("cut-link", cut);
  }

  // What answers an accept has the landing page's address: a link pasted there loads nothing by itself.
  function leave() {
    if (holds(location.hash)) location.replace("open" + location.hash);
  }

  // Something in the rest of the address looked like the secret to the server; the secret itself may still be here.
  function tell() {
    var field = opened.querySelector("[name=token]");
    if (field && holds(location.hash)) field.value += " " + location.hash;
    clean(told(opened, "clean-address"));
  }

  if (landing) take();
  if (opened) tell();
  addEventListener("hashchange", landing ? take : leave);

  // Help with choosing a password: show it, and say how far it is. What is pasted or filled in is never touched.
  each("[data-invitations-help]", function (help) {
    var field = document.getElementById(told(help, "help")), button = help.querySelector("button");
    var said = help.querySelector("[role=status]"), bar = help.querySelector("progress");
    var words = [button.textContent, told(button, "hide")], later;

    function judge(text) {
      var letters = Array.from(text);
      if (!letters.length) return "";
      if (letters.length < told(help, "minimum")) return told(help, "short").replace("{count}", letters.length);
      if (letters.length > told(help, "maximum")) return told(help, "long");
      return told(help, new Set(letters).size < 6 ? "weak" : "enough");
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

  // All checkboxes of a list at once, and how many are ticked.
  each("[data-invitations-bulk]", function (bar) {
    var form = bar.closest("form"), all = one("all", bar), said = bar.querySelector("[role=status]");
    var boxes = Array.from(form.querySelectorAll("[name=id]"));

    function follow() {
      var count = boxes.filter(function (box) { return box.checked; }).length, every = all.querySelector("input");
      every.checked = count && count === boxes.length;
      every.indeterminate = count && count < boxes.length;
      said.textContent = count ? told(said, "count").replace("{count}", count) : "";
    }

    all.hidden = !boxes.length;
    form.addEventListener("change", function (event) {
      if (all.contains(event.target)) boxes.forEach(function (box) { box.checked = event.target.checked; });
      follow();
    });
    follow();
  });

  // Times in the reader's own zone, in the language of the page.
  each("time[datetime]", function (time) {
    var when = new Date(time.dateTime), language = (root.lang || document.documentElement.lang || "en");
    var how = { day: "numeric", month: "long", year: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };
    try {
      var text = new Intl.DateTimeFormat(language, how).format(when);
      if (time.title) time.title = text;
      else time.textContent = text;
    } catch (_) { /* a language or a time that this browser does not know: UTC stays */ }
  });

  // A double click sends a form once, and the way back from an answer leads to the landing page, not to the form.
  root.addEventListener("submit", function (event) {
    var form = event.target, now = event.timeStamp;
    if (form.method !== "post") return;
    if (now - told(form, "sent") < 2000 && told(form, "sent")) event.preventDefault();
    else {
      form.setAttribute("data-invitations-sent", now);
      if (told(form, "leave")) clean(told(form, "leave"));
    }
  });
})();
