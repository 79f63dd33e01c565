// Shows the price in the currency that is chosen.
const [choice, output] = ["select", "output"].map((name) => document.querySelector(name));

choice.addEventListener("change", async () => {
  const answer = await fetch(`/price?cents=1250&currency=${choice.value}`);
  const { amount, currency } = await answer.json();
  output.value = `${amount} ${currency}`;
});
