// The entry point: the stack `account` has what an AWS account needs once; every other stack is the system.

import * as pulumi from "@pulumi/pulumi";
import { account, readAccountSettings } from "./account";
import { platform } from "./platform";
import { readSettings } from "./settings";

export = async () => (pulumi.getStack() === "account" ? account(readAccountSettings()) : platform(readSettings()));
