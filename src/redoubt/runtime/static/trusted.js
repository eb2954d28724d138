// The one policy that turns text into HTML: htmx parses what our own server rendered. Markup that could run
// something has no place in a fragment, so it is refused; scripts and their addresses have no policy at all.
const runs = /<\s*(script|iframe|object|embed|base|meta|link)\b|<[^>]*[\s"'\/](on[a-z]+|srcdoc)\s*=|=\s*["']?\s*javascript\s*:/i;
if (window.trustedTypes) {
  window.trustedTypes.createPolicy("default", {
    createHTML: (text) => {
      if (runs.test(text)) throw new TypeError("this fragment could run something");
      return text;
    },
  });
}
