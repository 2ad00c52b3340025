// Makes pages nicer; every page works without it.
(() => {
  'use strict';

  // Without a connection the browser would show a page of its own and what was typed would be gone.
  const offline = document.querySelector('[data-offline]');
  const tellConnection = () => {
    if (offline) offline.hidden = navigator.onLine;
  };
  window.addEventListener('online', tellConnection);
  window.addEventListener('offline', tellConnection);
  tellConnection();

  // A form is sent once. Its hidden key makes a second press harmless anyway; this only says that it is on its way.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (!navigator.onLine || form.dataset.sent) {
      event.preventDefault();
      tellConnection();
      return;
    }
    form.dataset.sent = 'yes';
    for (const button of form.querySelectorAll('button')) button.setAttribute('aria-busy', 'true');
  });
  // A file on its way shows how far it is.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    const way = form.querySelector('[data-way]');
    if (!way || event.defaultPrevented) return;
    event.preventDefault();
    const bar = way.querySelector('progress');
    const broken = form.querySelector('[data-broken]');
    const request = new XMLHttpRequest();
    const stop = () => {
      way.hidden = true;
      delete form.dataset.sent;
      for (const button of form.querySelectorAll('[aria-busy]')) button.removeAttribute('aria-busy');
    };
    request.open('POST', form.action);
    request.responseType = 'document';
    request.upload.addEventListener('progress', ({ loaded, total }) => {
      bar.max = total;
      bar.value = loaded;
    });
    request.addEventListener('load', () => {
      const next = request.response?.querySelector('main');
      if (request.status < 400 || !next) {
        location.replace(request.responseURL);
        return;
      }
      // Something is wrong with it, and the page that came says what.
      const main = document.querySelector('main');
      main.replaceChildren(...next.childNodes);
      main.querySelector('[aria-invalid]')?.focus();
    });
    request.addEventListener('error', () => {
      stop();
      broken.hidden = false;
    });
    broken.hidden = true;
    way.hidden = false;
    request.send(new FormData(form));
  });
  // The page may come back from the browser's memory.
  window.addEventListener('pageshow', () => {
    for (const form of document.querySelectorAll('form[data-sent]')) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll('[aria-busy]')) button.removeAttribute('aria-busy');
    }
  });

  // Menus close when one clicks elsewhere or presses Escape.
  const closeMenus = (except) => {
    for (const menu of document.querySelectorAll('details.menu[open]')) if (menu !== except) menu.open = false;
  };
  document.addEventListener('click', (event) => closeMenus(event.target.closest('details.menu')));
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    const open = document.querySelector('details.menu[open]');
    if (open) {
      open.open = false;
      open.querySelector('summary').focus();
    }
  });

  // Printing needs a script; so do its buttons.
  for (const button of document.querySelectorAll('[data-print]')) {
    button.hidden = false;
    button.addEventListener('click', () => window.print());
  }

  // A complete code is sent by itself.
  for (const input of document.querySelectorAll('[data-send-at]')) {
    input.addEventListener('input', () => {
      input.value = input.value.replace(/\D/g, '');
      if (input.value.length === Number(input.dataset.sendAt)) input.form.requestSubmit();
    });
  }

  // A button that may be pressed again after some seconds shows how many are left.
  for (const button of document.querySelectorAll('[data-after]')) {
    let left = Number(button.dataset.after);
    const label = button.textContent.trim();
    const tick = () => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? `${label} (${left})` : label;
      if (left > 0) {
        left -= 1;
        setTimeout(tick, 1000);
      }
    };
    tick();
  }

  // A page that waits for something looks again, while somebody looks at it, ever more slowly.
  const main = document.querySelector('main[data-live]');
  if (main) {
    let pause = Number(main.dataset.live) * 1000;
    let timer = 0;
    let source = null;
    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(look, pause);
    };
    const look = async () => {
      const writing = main.contains(document.activeElement) && document.activeElement.matches('input, textarea, select');
      const written = main.querySelector('form[data-sent]') !== null
        || [...main.querySelectorAll('textarea')].some((area) => area.value !== area.defaultValue);
      if (document.visibilityState === 'visible') {
        try {
          const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
          if (answer.redirected && new URL(answer.url).pathname !== location.pathname) {
            location.replace(answer.url);
            return;
          }
          const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
          const next = fresh.querySelector('main');
          if (answer.ok && next && (writing || written)) {
            // What somebody writes stays under their hands; the parts that only tell are renewed around it.
            for (const part of main.querySelectorAll('[data-fresh]')) {
              const fresh = next.querySelector(`[data-fresh="${part.dataset.fresh}"]`);
              if (fresh && fresh.innerHTML !== part.innerHTML) part.innerHTML = fresh.innerHTML;
            }
          } else if (answer.ok && next && next.innerHTML !== main.innerHTML) {
            const hadFocus = main.contains(document.activeElement);
            main.replaceChildren(...next.childNodes);
            document.title = fresh.title;
            const heading = main.querySelector('h1');
            if (hadFocus && heading) {
              heading.tabIndex = -1;
              heading.focus();
            }
          }
          if (answer.ok && next && !next.dataset.live && !writing && !written) {
            for (const button of main.querySelectorAll('[data-print]')) {
              button.hidden = false;
              button.addEventListener('click', () => window.print());
            }
            source?.close();
            return;
          }
        } catch {
          // No connection for the moment: look again later.
        }
        pause = Math.min(pause * 1.3, 15000);
      }
      later();
    };
    later();
    // Told of a change, it looks at once; what is being written is never taken from under the cursor.
    if (main.dataset.events && window.EventSource) {
      source = new EventSource(main.dataset.events);
      source.addEventListener('change', look);
    }
  }
})();
