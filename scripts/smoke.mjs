console.log("http://localhost:8000")
