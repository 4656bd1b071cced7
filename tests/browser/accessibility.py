"""A page under axe-core, the accessibility auditor.

A violation of impact "serious" or "critical" fails. axe takes half a minute for a chapter full of
code when it looks at every coloured word; so repetitions are taken out first: of each kind of token
of the code one is left per page, of the formulas three. Contrast is computed for one text of each
combination of colours, size and kind on the page.
"""

# (rule, selector that the element matches): why. What is wrong in the theme and cannot be mended by
# the book's style.
EXCEPTIONS = {}

THIN = """() => {
  const seen = new Set();
  for (const token of document.querySelectorAll(".highlight pre span")) {
    const kind = `${token.className}|${token.parentElement.className}`;
    if (seen.has(kind)) token.replaceWith(...token.childNodes);
    seen.add(kind);
  }
  document.querySelectorAll("pre").forEach((code) => code.normalize());
  const formulas = [...document.querySelectorAll("mjx-math")];
  formulas.slice(3).forEach((formula) => formula.replaceChildren());
}"""

MARK_KINDS_OF_TEXT = """() => {
  const kinds = document.querySelectorAll("[data-kind]");
  kinds.forEach((element) => element.removeAttribute("data-kind"));
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const parent = element.parentElement;
    const kind = [element.tagName, parent.tagName, getComputedStyle(parent).color];
    const style = getComputedStyle(element);
    for (const name of ["color", "fontSize", "fontWeight"]) kind.push(style[name]);
    for (let e = element; e; e = e.parentElement) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
      if (backgroundColor !== "rgba(0, 0, 0, 0)" || backgroundImage !== "none" || opacity !== "1")
        kind.push(backgroundColor, backgroundImage, opacity);
    }
    if (!seen.has(kind.join())) element.setAttribute("data-kind", "");
    seen.add(kind.join());
  }
  return seen.size;
}"""

AUDIT = """async ({context, options}) => {
  options = { preload: false, resultTypes: ["violations"], ...options };
  const { violations } = await axe.run(context ?? document, options);
  const impacts = ["serious", "critical"];
  const grave = violations.filter((violation) => impacts.includes(violation.impact));
  return grave.flatMap(({ id, nodes }) => nodes.map(({ target, any, all, none }) => {
    const why = [...any, ...all, ...none].map((check) => check.message).join("; ");
    return { rule: id, target: target.join(" "), text: `${id} at ${target}: ${why}` };
  }));
}"""

OF_COLOUR = ["color-contrast", "link-in-text-block"]


def violations(page, axe, scheme):
    """What axe (its source) finds: in light mode everything, in dark mode what depends on colours.
    Changes the page.
    """
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(THIN)
        page.evaluate(axe)
    assert page.evaluate(MARK_KINDS_OF_TEXT) > 3
    found = page.evaluate(
        AUDIT, {"context": {"include": [["[data-kind]"]]}, "options": {"runOnly": OF_COLOUR}}
    )
    if scheme == "light":
        rest = {"rules": {rule: {"enabled": False} for rule in OF_COLOUR}}
        found += page.evaluate(AUDIT, {"options": rest})
    excepted = "([selector, target]) => document.querySelector(target)?.matches(selector)"
    for rule, selector in EXCEPTIONS:
        found = [
            f
            for f in found
            if f["rule"] != rule or not page.evaluate(excepted, [selector, f["target"]])
        ]
    return [f["text"] for f in found]
