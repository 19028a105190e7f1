// The texts on a page with less contrast than WCAG 2.2 asks for.
() => {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const numbers = (color) => color.match(/[\d.]+/g).map(Number);
  const background = (node) => {
    for (; node; node = node.parentElement) {
      const color = numbers(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const hasText = (node) => [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
  const isFaint = (node) => {
    const both = [numbers(getComputedStyle(node).color), background(node)].map(luminance).sort((a, b) => b - a);
    return (both[0] + 0.05) / (both[1] + 0.05) < 4.5;
  };
  const texts = [...document.querySelectorAll("body *")].filter((node) => hasText(node) && node.checkVisibility());
  return texts.filter(isFaint).map((node) => `${node.tagName} ${node.textContent.slice(0, 40)}`);
}
