// The policies as a pack of Pulumi's: `pulumi preview --policy-pack .` and `pulumi up --policy-pack .` stop where one does
// not hold. Each looks at the whole stack; what is not known before it is made, such as the id of a new subnet, is looked
// at when it is.

import { PolicyPack } from "@pulumi/policy";
import { stackPolicies } from "./policies";

new PolicyPack("tandem", { policies: stackPolicies });
