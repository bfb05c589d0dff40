// The document is beside the folder of this page, wherever a gateway has put both. Nobody else is asked, not even to
// validate it.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  onComplete: () => {
    document.title = document.querySelector(".info .title")?.firstChild?.textContent.trim() ?? document.title;
  },
});
