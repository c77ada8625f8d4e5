from tune_app.cli import main

main()
