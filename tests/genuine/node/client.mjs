// Microsoft's management clients for Node, with all defaults. Prints one JSON object.
import { ManagedIdentityCredential } from "@azure/identity";
import { ResourceManagementClient } from "@azure/arm-resources";
import { ComputeManagementClient } from "@azure/arm-compute";

const SUBSCRIPTION = "98f51385-2edc-4b79-bed9-7718de4cb861";
const GROUP = "node";
const PLACE = "westus";

async function names(items) {
  const found = [];
  for await (const item of items) found.push(item.name);
  return found;
}

const credential = new ManagedIdentityCredential();
const resources = new ResourceManagementClient(credential, SUBSCRIPTION);
const compute = new ComputeManagementClient(credential, SUBSCRIPTION);
const said = {};

const made = await resources.resourceGroups.createOrUpdate(GROUP, { location: PLACE });
said.group = made.properties.provisioningState;
said.groups = (await names(resources.resourceGroups.list())).includes(GROUP);
const provider = await resources.providers.get("Microsoft.Compute");
said.provider = provider.registrationState;

const disk = {
  location: PLACE,
  creationData: { createOption: "Empty" },
  diskSizeGB: 10,
  sku: { name: "Standard_LRS" },
};
said.disk = (await compute.disks.createOrUpdate(GROUP, "one", disk)).provisioningState;
said.disks = await names(compute.disks.listByResourceGroup(GROUP));
const machine = {
  location: PLACE,
  hardwareProfile: { vmSize: "Standard_B1s" },
  osProfile: { computerName: "vm", adminUsername: "azureuser", adminPassword: "Embedded-12345" },
  storageProfile: {
    imageReference: {
      publisher: "Canonical",
      offer: "ubuntu-24_04-lts",
      sku: "server",
      version: "latest",
    },
    osDisk: { createOption: "FromImage" },
  },
};
said.vm = (await compute.virtualMachines.createOrUpdate(GROUP, "vm", machine)).provisioningState;
const view = await compute.virtualMachines.instanceView(GROUP, "vm");
said.power = view.statuses.at(-1).code;
const script = { commandId: "RunShellScript", script: ["echo 1"] };
said.ran = (await compute.virtualMachines.runCommand(GROUP, "vm", script)).value[0].code;
said.vms = await names(compute.virtualMachines.list(GROUP));
said.sizes = (await names(compute.virtualMachineSizes.list(PLACE))).includes("Standard_B1s");
await compute.virtualMachines.delete(GROUP, "vm");
await compute.disks.delete(GROUP, "one");
said.left = (await names(compute.disks.listByResourceGroup(GROUP))).length;
await resources.resourceGroups.beginDeleteAndWait(GROUP);
said.gone = (await names(resources.resourceGroups.list())).includes(GROUP);
console.log(JSON.stringify(said));
