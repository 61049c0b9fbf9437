# fog-openstack, the library of Ruby's provisioning tools, against an image service.
#
# The argument is a JSON document with what the test knows. Prints JSON: what each call returned, or the status of the
# refusal.
require 'fog/openstack'
require 'json'

GIVEN = JSON.parse(ARGV[0])
DATA_OF_IMAGE = File.binread(GIVEN['data'])

def service(user)
  Fog::OpenStack::Image::V2.new(
    openstack_auth_url: GIVEN['auth_url'], openstack_username: user, openstack_api_key: user,
    openstack_project_name: user, openstack_domain_id: 'default', openstack_region: GIVEN['region'],
    openstack_endpoint_type: 'publicURL'
  )
end

def refused
  yield
  'no error'
rescue Fog::OpenStack::Image::NotFound
  404
rescue Excon::Errors::HTTPStatusError => error
  error.response.status
end

def streamed(image)
  received = +''
  image.download_data(response_block: ->(chunk, _rest, _all) { received << chunk })
  received
end

demo = service('demo')
other = service('alt_demo')
image = demo.images.create(
  name: 'of fog', disk_format: 'raw', container_format: 'bare', visibility: 'private', min_disk: 2, os_distro: 'debian'
)
found = { created: image.status }
found[:foreign] = refused { other.get_image_by_id(image.id) }
image.upload_data(File.open(GIVEN['data'], 'rb'))
found[:data] = image.download_data == DATA_OF_IMAGE
found[:streamed] = streamed(image) == DATA_OF_IMAGE

image.update(name: 'renamed by fog', os_distro: nil, hw_disk_bus: 'scsi', visibility: 'shared', min_ram: 64)
image.add_tags(%w[one two])
image.remove_tag('one')
found[:updated] = demo.get_image_by_id(image.id).body
found[:found] = demo.images.find_by_name('renamed by fog').map(&:id)
found[:listed] = demo.images.all(tag: 'two', limit: 5).map(&:id)

image.add_member(GIVEN['project'])
other_image = other.images.get(image.id)
other_image.update_member('member_id' => GIVEN['project'], 'status' => 'accepted')
found[:members] = image.members.map { |member| [member['member_id'], member['status']] }
found[:member_again] = refused { image.add_member(GIVEN['project']) }
image.remove_member(GIVEN['project'])
found[:unshared] = refused { other.get_image_by_id(image.id) }

image.deactivate
found[:deactivated] = demo.images.get(image.id).status
found[:closed] = refused { image.download_data }
image.reactivate
found[:upload_again] = refused { image.upload_data(File.open(GIVEN['data'], 'rb')) }
found[:public] = refused { image.update(visibility: 'public') }
image.destroy
found[:destroyed] = demo.images.get(image.id).nil?
puts JSON.generate(found)
