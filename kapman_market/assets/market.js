// What the server need not be asked for: the pickers lead to an address, keys press links, text hides rows.
(() => {
    const byId = (id) => document.getElementById(id);

    // On a phone the tabs don't fit side by side: the open one comes into the middle.
    const showTab = () => {
        const bar = byId("tabs"), tab = bar.querySelector(".current");
        if (!tab) return;
        const [whole, open] = [bar, tab].map((one) => one.getBoundingClientRect());
        bar.scrollLeft += open.left + open.width / 2 - whole.left - whole.width / 2;
    };

    const goTo = (search) => window.dash_clientside.set_props("url", { search });

    window.dash_clientside = Object.assign({}, window.dash_clientside, {
        market: {
            // A picker was used; when it only follows the address, its value is the place's own.
            go(symbol, session, place) {
                if (!place) return;
                const parameters = new URLSearchParams(place.search);
                if (symbol && symbol !== place.symbol) {
                    parameters.set("symbol", symbol);
                    if (["watchlist", "health"].includes(parameters.get("tab"))) parameters.set("tab", "symbol");
                }
                if (session && session !== place.session) parameters.set("date", session);
                const search = `?${parameters}`;
                if (search !== `?${new URLSearchParams(place.search)}`) goTo(search);
            },
            title(place) {
                if (!place) return;
                document.title = place.title;
                requestAnimationFrame(showTab);
            },
        },
    });

    const filterRows = (text) => {
        const wanted = text.trim().toLowerCase();
        const rows = [...document.querySelectorAll("#watchlist-table tbody tr")];
        for (const row of rows) row.hidden = !row.dataset.text.includes(wanted);
        byId("shown").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
        // Links that carry the address carry the text too; the address bar follows without a new page.
        for (const link of document.querySelectorAll("a[data-csv=watchlist]")) {
            const url = new URL(link.href);
            if (wanted) url.searchParams.set("q", wanted);
            else url.searchParams.delete("q");
            link.href = url;
        }
    };

    // A picker that was opened takes what is typed as its search; Dash would focus the chosen option.
    const searchFirst = () => setTimeout(() => document.querySelector(".dash-dropdown-search")?.focus(), 60);

    document.addEventListener("input", (event) => {
        if (event.target.id === "filter") filterRows(event.target.value);
    });

    document.addEventListener("click", (event) => {
        const target = event.target;
        if (target.closest("#symbol, #session")) searchFirst();
        else if (target.closest("#help-button")) byId("help").showModal();
        else if (target.closest("#help-close") || target.id === "help") byId("help").close();
        else {
            const row = target.closest("#watchlist-table tbody tr");
            if (row && !target.closest("a") && !String(getSelection())) row.querySelector("a.row-link").click();
        }
    });

    const LINKS = { j: "next-symbol", k: "previous-symbol", ArrowRight: "next-session", ArrowLeft: "previous-session" };

    document.addEventListener("keydown", (event) => {
        const target = event.target;
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "Escape" && target.matches("#filter, .dash-dropdown-focus-target")) return target.blur();
        // Keys mean themselves in a field, in an open picker, and where arrows scroll a table.
        if (target.closest("input, textarea, select, dialog, [role=listbox], .dash-dropdown-content")) return;
        if (event.key.startsWith("Arrow") && target.closest(".scroll, pre")) return;
        if (LINKS[event.key]) byId(LINKS[event.key])?.querySelector("a")?.click();
        else if (/^[1-5]$/.test(event.key)) byId(`tab-${event.key}`)?.click();
        else if (event.key === "?") byId("help").showModal();
        else if (event.key === "/") byId("filter") ? byId("filter").focus() : byId("symbol").click();
        else return;
        event.preventDefault();
    });
})();
