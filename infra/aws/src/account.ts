// What an AWS account needs once, before the first stack: repositories for the images, the state of Pulumi and its key,
// and the roles that GitHub's workflows take, without any credential being kept there.
//
// It is applied by a person, seldom; no workflow may change it, so that none can give itself more rights.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type PolicyStatement, policyDocument } from "./context";
import { Checker, IMAGES, OWN_IMAGES } from "./settings";

export interface AccountSettings {
  region: string;
  accountId: string;
  /** `owner/name` on GitHub. */
  repository: string;
  /** The stacks of this account, each an environment of the repository. */
  stacks: string[];
}

export function readAccountSettings(): AccountSettings {
  const check = new Checker(new pulumi.Config("tandem"));
  const settings = {
    region: check.region(),
    accountId: check.text("accountId", /^\d{12}$/, "the account, 12 digits"),
    repository: check.text("repository", /^[A-Za-z0-9-]+\/[A-Za-z0-9._-]+$/, "owner/name on GitHub"),
    stacks: check.list("stacks", /^[a-z][a-z0-9-]{0,15}$/, "names of stacks, e.g. [dev, prod]"),
  };
  check.finish("the account cannot be planned");
  return settings as AccountSettings;
}

const ISSUER = "token.actions.githubusercontent.com";

export function account(settings: AccountSettings) {
  const { region, accountId, repository, stacks } = settings;
  const provider = new aws.Provider("aws", {
    region: region as aws.Region,
    allowedAccountIds: [accountId],
    defaultTags: { tags: { project: "tandem", environment: "account", "managed-by": "pulumi", repository: "tandem" } },
  });
  const options = { provider };

  // --- The state of Pulumi, and the key of its secrets ---------------------------------------------------------------
  const key = new aws.kms.Key(
    "pulumi",
    {
      description: "Tandem: state and secrets of Pulumi",
      enableKeyRotation: true,
      deletionWindowInDays: 30,
      policy: policyDocument({
        Sid: "PoliciesOfTheAccount",
        Effect: "Allow",
        Principal: { AWS: `arn:aws:iam::${accountId}:root` },
        Action: "kms:*",
        Resource: "*",
      }),
    },
    { ...options, protect: true },
  );
  new aws.kms.Alias("pulumi", { name: "alias/tandem-pulumi", targetKeyId: key.keyId }, options);
  const state = new aws.s3.Bucket("state", { bucket: `tandem-pulumi-${accountId}-${region}` }, { ...options, protect: true });
  const ofState = { bucket: state.id };
  new aws.s3.BucketPublicAccessBlock(
    "state",
    { ...ofState, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
    options,
  );
  new aws.s3.BucketOwnershipControls("state", { ...ofState, rule: { objectOwnership: "BucketOwnerEnforced" } }, options);
  new aws.s3.BucketVersioning("state", { ...ofState, versioningConfiguration: { status: "Enabled" } }, options);
  new aws.s3.BucketServerSideEncryptionConfiguration(
    "state",
    {
      ...ofState,
      rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: key.arn }, bucketKeyEnabled: true }],
    },
    options,
  );
  new aws.s3.BucketLifecycleConfiguration(
    "state",
    {
      ...ofState,
      rules: [{ id: "versions", status: "Enabled", filter: { prefix: "" }, noncurrentVersionExpiration: { noncurrentDays: 90 } }],
    },
    options,
  );
  new aws.s3.BucketPolicy(
    "state",
    {
      ...ofState,
      policy: policyDocument({
        Sid: "OnlyTls",
        Effect: "Deny",
        Principal: "*",
        Action: "s3:*",
        Resource: [state.arn, pulumi.interpolate`${state.arn}/*`],
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      }),
    },
    options,
  );

  // --- Images ------------------------------------------------------------------------------------------------------
  const repositories = IMAGES.map((name) => {
    const made = new aws.ecr.Repository(
      name,
      {
        name: `tandem/${name}`,
        imageTagMutability: "IMMUTABLE",
        imageScanningConfiguration: { scanOnPush: true },
        encryptionConfigurations: [{ encryptionType: "KMS", kmsKey: key.arn }],
      },
      options,
    );
    new aws.ecr.LifecyclePolicy(
      name,
      {
        repository: made.name,
        policy: JSON.stringify({
          rules: [
            {
              rulePriority: 1,
              description: "What a tag has left",
              selection: { tagStatus: "untagged", countType: "sinceImagePushed", countUnit: "days", countNumber: 14 },
              action: { type: "expire" },
            },
            {
              rulePriority: 2,
              description: "Enough releases to go back to",
              selection: { tagStatus: "any", countType: "imageCountMoreThan", countNumber: 100 },
              action: { type: "expire" },
            },
          ],
        }),
      },
      options,
    );
    return made;
  });

  // --- What no role of a stack can exceed ------------------------------------------------------------------------------
  // Exactly what src/task.ts and src/telemetry.ts give, for all tasks together; and, of the rest of the account, nothing.
  const boundary = new aws.iam.Policy(
    "boundary",
    {
      name: "tandem-boundary",
      path: "/tandem/",
      description: "What a task of Tandem may do at most",
      policy: policyDocument(
        {
          Sid: "Tasks",
          Effect: "Allow",
          Action: [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer",
            "elasticfilesystem:ClientMount",
            "elasticfilesystem:ClientWrite",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
            "aps:RemoteWrite",
          ],
          Resource: "*",
        },
        {
          Sid: "SecretsOfTandem",
          Effect: "Allow",
          Action: "secretsmanager:GetSecretValue",
          Resource: [
            `arn:aws:secretsmanager:${region}:${accountId}:secret:tandem/*`,
            // Of the administrators of the databases, which RDS names itself.
            `arn:aws:secretsmanager:${region}:${accountId}:secret:rds!db-*`,
          ],
        },
        {
          Sid: "KeysOfSecrets",
          Effect: "Allow",
          Action: "kms:Decrypt",
          Resource: `arn:aws:kms:${region}:${accountId}:key/*`,
          Condition: { StringEquals: { "kms:ViaService": `secretsmanager.${region}.amazonaws.com` } },
        },
        {
          Sid: "CertificatesOfServices",
          Effect: "Allow",
          Action: [
            "acm-pca:DescribeCertificateAuthority",
            "acm-pca:GetCertificate",
            "acm-pca:GetCertificateAuthorityCertificate",
            "acm-pca:IssueCertificate",
            "kms:GenerateDataKeyPair",
            "secretsmanager:CreateSecret",
            "secretsmanager:DeleteSecret",
            "secretsmanager:DescribeSecret",
            "secretsmanager:PutSecretValue",
            "secretsmanager:RotateSecret",
            "secretsmanager:TagResource",
            "secretsmanager:UpdateSecret",
            "secretsmanager:UpdateSecretVersionStage",
          ],
          Resource: "*",
          Condition: { StringEquals: { "aws:ResourceAccount": accountId } },
        },
      ),
    },
    options,
  );

  // --- Roles of GitHub's workflows -------------------------------------------------------------------------------------
  const github = new aws.iam.OpenIdConnectProvider("github", { url: `https://${ISSUER}`, clientIdLists: ["sts.amazonaws.com"] }, options);
  const role = (name: string, subject: string, description: string) =>
    new aws.iam.Role(
      name,
      {
        name: `tandem-github-${name}`,
        path: "/tandem/github/",
        description,
        maxSessionDuration: 7200,
        assumeRolePolicy: policyDocument({
          Effect: "Allow",
          Principal: { Federated: github.arn },
          Action: "sts:AssumeRoleWithWebIdentity",
          Condition: {
            StringEquals: { [`${ISSUER}:aud`]: "sts.amazonaws.com", [`${ISSUER}:sub`]: `repo:${repository}:${subject}` },
          },
        }),
      },
      options,
    );
  const grant = (name: string, to: aws.iam.Role, ...statements: PolicyStatement[]) =>
    new aws.iam.RolePolicy(name, { name, role: to.id, policy: policyDocument(...statements) }, options);
  const readImagesAndState: PolicyStatement[] = [
    {
      Sid: "FindImages",
      Effect: "Allow",
      Action: "ecr:DescribeImages",
      Resource: repositories.map(({ arn }) => arn),
    },
    { Sid: "ListState", Effect: "Allow", Action: ["s3:GetBucketLocation", "s3:ListBucket"], Resource: state.arn },
    { Sid: "ReadState", Effect: "Allow", Action: "s3:GetObject", Resource: pulumi.interpolate`${state.arn}/*` },
    { Sid: "ReadSecretsOfState", Effect: "Allow", Action: ["kms:Decrypt", "kms:DescribeKey"], Resource: key.arn },
  ];

  const images = role("images", "ref:refs/heads/main", "Pushes images that main has built");
  grant(
    "images",
    images,
    { Sid: "LogIn", Effect: "Allow", Action: "ecr:GetAuthorizationToken", Resource: "*" },
    {
      Sid: "Push",
      Effect: "Allow",
      Action: [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:DescribeImageScanFindings",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
      ],
      Resource: repositories.filter((_, index) => OWN_IMAGES.includes(IMAGES[index] as never)).map(({ arn }) => arn),
    },
  );

  const preview = role("preview", "pull_request", "Says what a pull request would change, and changes nothing");
  new aws.iam.RolePolicyAttachment("preview", { role: preview.name, policyArn: "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess" }, options);
  grant("preview", preview, ...readImagesAndState);

  const deploys = stacks.map((stack) => {
    const deploy = role(`deploy-${stack}`, `environment:${stack}`, `Applies the stack ${stack}, from the environment of that name`);
    const roles = `arn:aws:iam::${accountId}:role/tandem/${stack}/*`;
    const deployment = new aws.iam.Policy(
      `deploy-${stack}`,
      {
        name: `tandem-deploy-${stack}`,
        path: "/tandem/",
        description: `What a deployment of the stack ${stack} may do`,
        policy: policyDocument(
          ...readImagesAndState,
          {
            Sid: "WriteState",
            Effect: "Allow",
            Action: ["s3:DeleteObject", "s3:PutObject"],
            Resource: pulumi.interpolate`${state.arn}/*`,
          },
          { Sid: "WriteSecretsOfState", Effect: "Allow", Action: ["kms:Encrypt", "kms:GenerateDataKey"], Resource: key.arn },
          {
            Sid: "InTheRegion",
            Effect: "Allow",
            Action: [
              "acm:*",
              "application-autoscaling:*",
              "aps:*",
              "cloudwatch:*",
              "ec2:*",
              "ecs:*",
              "elasticfilesystem:*",
              "elasticloadbalancing:*",
              "kms:*",
              "logs:*",
              "mq:*",
              "rds:*",
              "secretsmanager:*",
              "servicediscovery:*",
              "sns:*",
              "wafv2:*",
            ],
            Resource: "*",
            Condition: { StringEquals: { "aws:RequestedRegion": region } },
          },
          {
            Sid: "Everywhere",
            Effect: "Allow",
            Action: [
              "route53:ChangeResourceRecordSets",
              "route53:Get*",
              "route53:List*",
              "shield:CreateProtection",
              "shield:DeleteProtection",
              "shield:DescribeProtection",
            ],
            Resource: "*",
          },
          {
            Sid: "Logs",
            Effect: "Allow",
            Action: "s3:*",
            Resource: [`arn:aws:s3:::tandem-${stack}-*`, `arn:aws:s3:::aws-waf-logs-tandem-${stack}-*`],
          },
          {
            Sid: "MakeRolesWithinTheBoundary",
            Effect: "Allow",
            Action: ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:AttachRolePolicy"],
            Resource: roles,
            Condition: { StringEquals: { "iam:PermissionsBoundary": boundary.arn } },
          },
          {
            Sid: "KeepRoles",
            Effect: "Allow",
            Action: [
              "iam:DeleteRole",
              "iam:DeleteRolePolicy",
              "iam:DetachRolePolicy",
              "iam:Get*",
              "iam:List*",
              "iam:TagRole",
              "iam:UntagRole",
              "iam:UpdateAssumeRolePolicy",
            ],
            Resource: roles,
          },
          {
            Sid: "PassRolesToEcs",
            Effect: "Allow",
            Action: "iam:PassRole",
            Resource: roles,
            Condition: { StringEquals: { "iam:PassedToService": ["ecs-tasks.amazonaws.com", "ecs.amazonaws.com"] } },
          },
          {
            Sid: "RolesOfAwsItself",
            Effect: "Allow",
            Action: "iam:CreateServiceLinkedRole",
            Resource: `arn:aws:iam::${accountId}:role/aws-service-role/*`,
          },
          // The account's own key, whatever the statement about keys allows.
          { Sid: "NotTheStateItself", Effect: "Deny", Action: ["kms:ScheduleKeyDeletion", "kms:PutKeyPolicy", "kms:DisableKey"], Resource: key.arn },
        ),
      },
      options,
    );
    new aws.iam.RolePolicyAttachment(`deploy-${stack}`, { role: deploy.name, policyArn: deployment.arn }, options);
    return [stack, deploy.arn] as const;
  });

  return {
    stateUrl: pulumi.interpolate`s3://${state.bucket}?region=${region}&awssdk=v2`,
    secretsProvider: `awskms://alias/tandem-pulumi?region=${region}`,
    registry: `${accountId}.dkr.ecr.${region}.amazonaws.com`,
    imagesRoleArn: images.arn,
    previewRoleArn: preview.arn,
    deployRoleArns: Object.fromEntries(deploys),
    permissionsBoundaryArn: boundary.arn,
  };
}
