"""``python -m towpath``"""

from towpath.main import main

main()
